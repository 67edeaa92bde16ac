"""What a network sees and hears."""

MODALITIES = ('speech', 'visual', 'geometric')
