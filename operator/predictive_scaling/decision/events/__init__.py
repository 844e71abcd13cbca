"""BusinessEvents: when they occur, and which of their occurrences are active."""
