"""An attempt on this node, whatever the backend: launching, watching, uploading, telling."""
