"""Building blocks of the phantom: shapes, tissues, organs and scanner, combined by `train.synthetic.anatomy`."""
