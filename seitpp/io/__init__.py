"""Files: reading what anybody may have made, and writing so that nothing is lost."""
