"""What will not work, said before anything starts: ``python -m cli.doctor``."""
