"""The routes of the HTTP protocol."""
