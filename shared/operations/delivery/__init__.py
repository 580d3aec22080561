"""What takes alerts to people and their servers: webhooks and mail, their addresses and their log."""
