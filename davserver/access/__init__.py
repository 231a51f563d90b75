"""Who may do what: accounts, credentials, permissions."""
