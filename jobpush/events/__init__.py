"""What happened: numbered, made durable, published, read again, and handed to those who wait for it."""
