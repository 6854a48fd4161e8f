"""Everything that only the pages use: style, players, and per lesson its figures and its checks."""
