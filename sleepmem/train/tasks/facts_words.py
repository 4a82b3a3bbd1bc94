"""The closed lists of the `facts` task: who, what and which value. Every word is one token."""

from __future__ import annotations

from typing import NamedTuple

NAMES = tuple(
    """
Aaron Abigail Adam Adele Adrian Agnes Alan Albert Alice Amanda Amber Amelia Amir Amy Andrea
Andrew Angela Anita Anna Anthony Antonio Arthur Ashley Astrid Audrey Barbara Beatrice Benjamin
Bernard Bianca Boris Brandon Brenda Brian Bridget Bruno Camila Carla Carlos Carmen Caroline
Catherine Cecilia Celine Chloe Christian Clara Claudia Colin Connor Cynthia Daniel Daria David
Deborah Dennis Derek Diana Diego Dominic Donald Dorothy Douglas Edith Edward Eileen Elena Elias
Elizabeth Emil Emily Emma Eric Esther Ethan Eva Evelyn Fatima Felix Fiona Frances Frank Gabriel
Gemma George Gerald Gloria Gordon Grace Gregory Hannah Harold Harriet Hassan Heather Hector Helen
Henrik Henry Hugo Ibrahim Ingrid Irene Isaac Isabel Ivan Jacob Jane Janet Jasmine Jason Javier
Jeremy Jessica Joan Joel Johanna John Jonas Joseph Joyce Juan Judith Julia Julian Karen Karl
Kenneth Kevin Khalid Kristina Laura Lauren Leah Leon Leonard Linda Lisa Lorenzo Louis Lucas Lucia
Luis Lydia Magda Marcus Margaret Maria Marina Mario Marta Martin Matilda Matthew Megan Michael
Miguel Miriam Monica Nadia Naomi Natalie Nathan Nicole Nigel Nina Nora Norman Oliver Olivia Omar
Oscar Pablo Patricia Patrick Paul Paula Pedro Peter Philip Priya Rachel Ralph Raymond Rebecca
Richard Robert Roberta Roger Roland Rosa Ruth Samuel Sandra Sarah Sebastian Simon Sofia Sonia
Stefan Stella Stephen Susan Sven Sylvia Tamara Teresa Thomas Tobias Tommy Ursula Valerie Vanessa
Vera Victor Vincent Viola Walter Wendy William Xavier Yasmin Yusuf Zoe
""".split()
)


class Attribute(NamedTuple):
    """Something that can be said of anybody, with the values it can have.

    Wordings have slots: {P} possessor ("Maria's", "my"), {N} subject ("Maria", "I"), {V} value,
    {A} its article; [a|b] is the verb for another person or for oneself.
    """

    name: str
    statements: tuple[str, str, str, str]
    questions: tuple[str, str, str]
    values: tuple[str, ...]


ATTRIBUTES = (
    Attribute(
        "dog",
        (
            "{P} dog is called {V}.",
            "the name of {P} dog is {V}.",
            "{N} [has|have] a dog named {V}.",
            "Note that {V} is {P} dog.",
        ),
        (
            "What is {P} dog called?",
            "What is the name of {P} dog?",
            "Which dog [does|do] {N} have?",
        ),
        tuple(
            """
Rex Bella Max Luna Rocky Daisy Buddy Molly Duke Lola Bear Sadie Tucker Maggie Oreo Biscuit Rufus
Pepper Shadow Coco Bandit Ginger Ziggy Nala Milo Rusty Honey Scout Rascal Willow Sparky Poppy
Bruiser Cookie Fido Waffles Snoopy Trixie Benji Patches
""".split()
        ),
    ),
    Attribute(
        "colour",
        (
            "{P} favourite colour is {V}.",
            "{N} [likes|like] the colour {V} best.",
            "the colour {N} [loves|love] is {V}.",
            "Note that {V} is {P} favourite colour.",
        ),
        (
            "What is {P} favourite colour?",
            "Which colour [does|do] {N} like best?",
            "What colour [does|do] {N} love?",
        ),
        tuple(
            """
red blue green yellow orange purple pink brown black white grey teal turquoise crimson scarlet
maroon navy indigo violet magenta beige ivory golden silver bronze amber emerald jade azure cyan
lavender lilac mauve burgundy charcoal ochre sepia vermilion khaki fuchsia
""".split()
        ),
    ),
    Attribute(
        "city",
        (
            "{N} [lives|live] in {V}.",
            "{P} home is in {V}.",
            "the city {N} [lives|live] in is {V}.",
            "Note that {V} is {P} home town.",
        ),
        (
            "Where [does|do] {N} live?",
            "Which city [does|do] {N} live in?",
            "What is {P} home town?",
        ),
        tuple(
            """
Paris London Berlin Madrid Rome Vienna Prague Lisbon Dublin Oslo Stockholm Helsinki Copenhagen
Warsaw Budapest Athens Brussels Zurich Geneva Munich Hamburg Milan Naples Barcelona Porto Cairo
Nairobi Lagos Tokyo Osaka Seoul Beijing Shanghai Delhi Mumbai Sydney Melbourne Toronto Montreal
Chicago
""".split()
        ),
    ),
    Attribute(
        "job",
        (
            "{N} [works|work] as {A} {V}.",
            "{P} job is {V}.",
            "{P} profession is {V}.",
            "{N} [is|am] {A} {V} by trade.",
        ),
        (
            "What is {P} job?",
            "What [does|do] {N} work as?",
            "Which profession [does|do] {N} have?",
        ),
        tuple(
            """
nurse baker plumber teacher lawyer pilot farmer dentist carpenter electrician chef waiter
journalist photographer librarian mechanic accountant architect barber butcher cashier chemist
clerk courier detective diplomat editor firefighter florist gardener geologist hairdresser judge
locksmith midwife miner optician painter pharmacist tailor
""".split()
        ),
    ),
    Attribute(
        "food",
        (
            "{P} favourite food is {V}.",
            "{N} [likes|like] to eat {V}.",
            "the food {N} [loves|love] is {V}.",
            "Note that {V} is {P} favourite dish.",
        ),
        (
            "What is {P} favourite food?",
            "What [does|do] {N} like to eat?",
            "Which dish [does|do] {N} love?",
        ),
        tuple(
            """
pizza pasta sushi curry lasagna risotto paella tacos burritos ramen dumplings noodles pancakes
porridge omelette salad soup stew chili goulash schnitzel falafel hummus kebab couscous ravioli
gnocchi burgers sausages meatballs lobster shrimp oysters tofu lentils asparagus mushrooms
spinach broccoli cheesecake
""".split()
        ),
    ),
    Attribute(
        "drink",
        (
            "{P} favourite drink is {V}.",
            "{N} [likes|like] to drink {V}.",
            "the drink {N} [orders|order] is always {V}.",
            "Note that {V} is {P} usual drink.",
        ),
        (
            "What is {P} favourite drink?",
            "What [does|do] {N} like to drink?",
            "Which drink [does|do] {N} order?",
        ),
        tuple(
            """
coffee tea water milk juice lemonade cocoa espresso cappuccino latte mocha cider beer wine
champagne whisky vodka rum gin brandy sherry port mead kefir kombucha smoothie cola soda tonic
ginseng matcha chai buttermilk absinthe tequila sangria punch eggnog vermouth martini
""".split()
        ),
    ),
    Attribute(
        "instrument",
        (
            "{N} [plays|play] the {V}.",
            "{P} instrument is the {V}.",
            "the instrument {N} [plays|play] is the {V}.",
            "{N} [practises|practise] the {V} every day.",
        ),
        (
            "Which instrument [does|do] {N} play?",
            "What is {P} instrument?",
            "What [does|do] {N} practise every day?",
        ),
        tuple(
            """
piano violin guitar cello flute trumpet clarinet saxophone harp drums banjo ukulele accordion
harmonica trombone tuba oboe bassoon mandolin lute sitar organ harpsichord xylophone marimba
bagpipes piccolo recorder lyre zither bongos tambourine triangle cornet bugle fiddle synthesizer
dulcimer viola contrabass
""".split()
        ),
    ),
    Attribute(
        "sport",
        (
            "{P} favourite sport is {V}.",
            "{N} [spends|spend] the weekend on {V}.",
            "the sport {N} [does|do] is {V}.",
            "Note that {V} is {P} sport.",
        ),
        (
            "What is {P} favourite sport?",
            "Which sport [does|do] {N} do?",
            "What sport fills {P} weekend?",
        ),
        tuple(
            """
football tennis basketball hockey golf cricket rugby volleyball badminton baseball boxing
wrestling judo karate fencing archery rowing sailing surfing swimming diving skiing snowboarding
skating curling cycling running climbing hiking gymnastics handball squash softball polo lacrosse
bowling darts billiards triathlon yoga
""".split()
        ),
    ),
    Attribute(
        "animal",
        (
            "{P} favourite animal is the {V}.",
            "{N} [likes|like] the {V} more than any other animal.",
            "the animal {N} [admires|admire] is the {V}.",
            "Note that the {V} is {P} favourite animal.",
        ),
        (
            "What is {P} favourite animal?",
            "Which animal [does|do] {N} admire?",
            "What animal [does|do] {N} like more than any other?",
        ),
        tuple(
            """
lion tiger elephant giraffe zebra horse cow sheep goat pig rabbit squirrel fox wolf deer moose
otter beaver badger hedgehog dolphin whale shark octopus penguin eagle owl falcon parrot swan
turtle crocodile lizard frog salmon butterfly spider camel kangaroo koala
""".split()
        ),
    ),
    Attribute(
        "language",
        (
            "{N} [speaks|speak] {V}.",
            "{P} first language is {V}.",
            "the language {N} [learns|learn] is {V}.",
            "{N} [studies|study] {V} at night.",
        ),
        (
            "Which language [does|do] {N} speak?",
            "What is {P} first language?",
            "What language [does|do] {N} learn?",
        ),
        tuple(
            """
English French German Spanish Italian Portuguese Dutch Swedish Norwegian Danish Finnish Polish
Czech Hungarian Greek Turkish Arabic Hebrew Persian Hindi Bengali Urdu Tamil Thai Vietnamese
Korean Japanese Mandarin Cantonese Russian Ukrainian Bulgarian Romanian Serbian Croatian Albanian
Swahili Zulu Latin Icelandic
""".split()
        ),
    ),
)
