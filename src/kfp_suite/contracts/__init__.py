"""What an artifact looks like on disk, how it is digested, and how things fail."""
