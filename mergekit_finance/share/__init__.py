"""What leaves the house: a model card of a chosen point, and how it is sent to the Hub.

licences.py      what licences of models want and forbid
parents.py       the models that a point is made of, and who says under which licence they are
choice.py        which point the card is about, and all that is known of it
measured.py      whether its recipe is the one whose scores are shown
front_matter.py  the YAML that the Hub reads
body.py          the text that people read
card.py          the folder
files.py         which files of the folder may go out
hub.py           sending them
"""
