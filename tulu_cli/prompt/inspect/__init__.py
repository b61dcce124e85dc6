"""What a chat template does to a conversation, shown, compared and checked."""
