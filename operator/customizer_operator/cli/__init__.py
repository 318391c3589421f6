"""What can be known of a manifest without a cluster: `customizer plan|render|validate -f FILE`."""
