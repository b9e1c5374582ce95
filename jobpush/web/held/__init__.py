"""Held requests, whatever their form: long polls, barriers, streams, WebSockets."""
