"""Top-ups, cards, refunds, disputes, invoices: what Stripe and the books say to each other."""
