"""The engine: one queue that loses nothing. The database row is the truth; Redis is a doorbell."""
