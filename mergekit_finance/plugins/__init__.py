"""What third parties see: the hook specifications, the types that hooks return, and the plugin manager."""
