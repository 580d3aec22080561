"""The console: pages for account owners and their teams, and for operators.

They are made on the server and need no script; the little there is refreshes the overview and copies keys.
"""
