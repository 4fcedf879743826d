"""How good any detector's predictions are: COCO results against labelled images."""
