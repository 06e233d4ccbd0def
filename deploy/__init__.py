"""How the processes are started and kept: the supervisor, its children, and the servers' settings."""
