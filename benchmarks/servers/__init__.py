"""The servers that are measured: one small file each."""
