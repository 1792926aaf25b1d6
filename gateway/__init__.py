"""The Flask gateway in front of the cluster; import what you need from its modules."""
