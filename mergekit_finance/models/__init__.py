"""Models on disk or on the Hub: what can be known of them, what identifies their bytes, loading them."""
