"""Station 4: fusers combine the features of several encoders."""
