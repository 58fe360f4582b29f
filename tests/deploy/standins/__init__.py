"""Stand-ins for images that cannot be had everywhere: they run inside containers that bear the
names of the real ones, and speak as those do."""
