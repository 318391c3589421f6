"""The demo's task: route a customer's message to one of six teams (document classification).

Messages are put together from an opening, a matter and a close. The matters of the held-out records occur in no
training record, so that a good answer means that the task was learned, not the sentences.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

INSTRUCTION = (
    "Route the customer's message to one team: billing, delivery, returns, account, technical or sales. "
    "Answer with the name of the team only."
)

TRAINING_MATTERS = {
    "billing": [
        "I was charged twice for the same order",
        "the invoice shows the wrong tax number",
        "my card was debited although the payment failed",
        "the discount code was not taken off the total",
        "I need a receipt for my tax adviser",
        "there is a fee on my statement that I do not recognise",
        "the price on the bill is higher than in the shop",
        "please change the address printed on the invoice",
        "the direct debit came three days early",
        "why was I billed for a subscription that I ended",
        "my gift card balance was not used for the payment",
        "I paid in dollars but the statement says euros",
        "can I pay this order in three instalments",
        "the reminder says I owe money but I have paid",
    ],
    "delivery": [
        "my parcel has not moved for five days",
        "the courier left the package in the rain",
        "tracking says delivered but nothing is here",
        "I want the box brought to a pick-up point",
        "the driver could not find my house",
        "half of the shipment is missing",
        "when will the van come to my street",
        "please send it to my neighbour if I am out",
        "the parcel was handed to a stranger",
        "the delivery date moved for the third time",
        "my order is stuck at customs",
        "the carrier says that the label is torn",
        "can you ship to an island",
        "nobody rang the bell and now it is at the depot",
    ],
    "returns": [
        "the shoes are too small and I want to send them back",
        "how do I get a label for the way back",
        "I changed my mind and would like my money again",
        "the vase arrived in pieces, I want another one",
        "may I exchange the blue shirt for a green one",
        "I sent the jacket back two weeks ago and heard nothing",
        "the wrong colour came, please swap it",
        "do I have to keep the box to hand it back",
        "I would like to give back an opened headset",
        "the present was not liked, can it be returned",
        "how many days do I have to return a lamp",
        "the refund for the kettle has not arrived",
        "I want to return only one of the two chairs",
        "the seam came apart after a day, take it back please",
    ],
    "account": [
        "I cannot remember my password",
        "please delete my profile and all my data",
        "I want to change my e-mail address for signing in",
        "somebody else is using my login",
        "my user name is spelled wrongly",
        "the code for signing in never reaches my phone",
        "I have two profiles and want only one",
        "how do I turn off the newsletter",
        "my membership level is not shown",
        "I was locked out after three attempts",
        "please add my wife to the family profile",
        "which personal data do you keep about me",
        "my birthday is wrong in the settings",
        "I would like to sign up but my e-mail is already taken",
    ],
    "technical": [
        "the app closes as soon as I open it",
        "the speaker does not connect to my phone",
        "an error 500 comes up when I search",
        "the firmware update stops at forty percent",
        "the screen stays black after switching it on",
        "the robot vacuum loses its map every night",
        "pictures do not load on your website",
        "the printer is not found in the network",
        "the watch shows the wrong time after charging",
        "the battery is empty after an hour",
        "the remote control does nothing any more",
        "how do I reset the router",
        "the camera says that the memory is full",
        "the page freezes when I press the button",
    ],
    "sales": [
        "do you have this table in oak",
        "when will the new phone be in stock",
        "which of the two tents is better for winter",
        "is there a discount for forty licences",
        "does the coffee machine also make cocoa",
        "can I see the sofa in a shop near me",
        "how long is the warranty if I buy today",
        "do you sell spare filters for it",
        "will there be an offer in November",
        "is the helmet made in a size for children",
        "I am looking for a present for a gardener",
        "what is the difference between the two models",
        "could you make us an offer for ten desks",
        "is the charger included when I order",
    ],
}

HELD_OUT_MATTERS = {
    "billing": [
        "the amount taken from my bank account is wrong",
        "my voucher was ignored at the payment",
        "please send me the invoice for March again",
        "I have been charged for an order that I cancelled",
        "the VAT is missing on my bill",
        "why does my statement list the payment two times",
    ],
    "delivery": [
        "the package should have been here on Monday",
        "the tracking number does not show anything",
        "the courier threw my parcel over the fence",
        "please deliver it to my office instead",
        "only one of my three boxes has arrived",
        "my parcel went to the wrong town",
    ],
    "returns": [
        "I want to send the dress back because it does not fit",
        "where is the refund for the mixer that I returned",
        "can I swap the red bag for a black one",
        "the plates came broken and I want new ones",
        "please send me a return label",
        "I do not like the carpet, how do I give it back",
    ],
    "account": [
        "I forgot my password and the link does not come",
        "please remove my profile",
        "how can I change the phone number in my settings",
        "I think that my login was stolen",
        "I cannot sign in any more",
        "please unsubscribe me from your mails",
    ],
    "technical": [
        "the app crashes when I take a picture",
        "the headphones do not pair with my laptop",
        "your website shows an error when I open the basket",
        "the update of the tablet does not finish",
        "the lamp flickers and does not react to the switch",
        "the keyboard stopped working after the update",
    ],
    "sales": [
        "is the bicycle available in green",
        "which laptop do you recommend for a student",
        "do you give a discount if we order fifty chairs",
        "when will the console be available again",
        "does the tent come with pegs",
        "can I try the mattress before I buy it",
    ],
}

OPENINGS = ["", "Hello,", "Good morning,", "Hi there,", "Dear team,", "Hello again,", "Sorry to bother you, but"]
CLOSES = [
    "",
    "Thanks.",
    "Please help.",
    "What can I do?",
    "Best regards, Ana",
    "I wait for your answer.",
    "Thank you, Tom",
]


def prompt(message: str) -> str:
    """Wraps a message as the model is trained and asked."""
    return f"{INSTRUCTION}\n\nMessage: {message}\nTeam:"


def records(matters: dict[str, list[str]], count: int, seed: int) -> Iterator[dict[str, str]]:
    """Yields `count` records, balanced over the teams, as prompt and completion."""
    chance = random.Random(seed)
    teams = list(matters)
    for number in range(count):
        team = teams[number % len(teams)]
        matter = matters[team][(number // len(teams)) % len(matters[team])]
        opening, close = chance.choice(OPENINGS), chance.choice(CLOSES)
        text = " ".join(part for part in (opening, matter if opening else matter[0].upper() + matter[1:]) if part)
        yield {"prompt": prompt(f"{text}. {close}".strip()), "completion": f" {team}"}


def write(folder: Path, *, training: int = 420, held_out: int = 120) -> tuple[Path, Path]:
    """Writes `training.jsonl` and `held-out.jsonl` and returns their paths."""
    paths = folder / "training.jsonl", folder / "held-out.jsonl"
    for path, matters, count, seed in zip(
        paths, (TRAINING_MATTERS, HELD_OUT_MATTERS), (training, held_out), (1, 2), strict=True
    ):
        path.write_text("".join(json.dumps(record) + "\n" for record in records(matters, count, seed)))
    return paths
