def measure_reader(folder):
    return {}
