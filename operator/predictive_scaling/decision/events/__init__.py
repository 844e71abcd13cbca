"""BusinessEvents: when they occur, which are active, and the floor that they ask for."""
