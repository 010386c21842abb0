"""What the project's own development needs; nothing here is part of the installed package."""
