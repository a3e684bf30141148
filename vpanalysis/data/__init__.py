"""What is read: runtime databases, gateways, snapshots and the sample, all as the same tables."""
