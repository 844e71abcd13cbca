"""How much safety each policy buys: its frontier over the last days, the quantile that its prices choose, advice."""
