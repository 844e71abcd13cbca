"""Time zones, public holidays and comparable days."""
