"""What to merge: read and check recipes, change values in them, and list those that we ship."""
