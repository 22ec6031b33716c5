"""WaterSIC's corrections for a model that is quantized layer by layer, for any method: see `table.CORRECTIONS`."""
