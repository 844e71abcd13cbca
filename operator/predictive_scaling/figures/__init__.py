"""SVG figures for the pages of the demo and the backtest."""
