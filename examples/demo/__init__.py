"""A tea shop of one page, which shows in a browser what server-side sessions do."""
