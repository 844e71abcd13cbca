"""Results of a backtest as JSON, text and an HTML page."""
