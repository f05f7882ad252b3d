"""What happens under attack: damaged and crafted files, full disks. ``make reliability`` counts it for the docs."""
