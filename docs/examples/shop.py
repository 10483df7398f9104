"""A service that follows the events of a Quivive server, by docs/consumers.md.

    pip install requests redis pika
    python3 shop.py https://id.example.org qk_… redis://127.0.0.1:6379 shop.cursor
    python3 shop.py https://id.example.org qk_… amqp://user:password@127.0.0.1:5672/%2f shop.cursor

It prints the position, key and type of each event once. Another program has its work in `handle`.
"""

import json
import os
import sys
import time

import requests

SHARDS, PREFIX, GROUP, SERVICE = 8, "quivive", "shop-py", "events"
PAGE, AHEAD_MOST = 250, 10_000
SILENCE, POLL, SAVE_EVERY, RECONNECT = 1.0, 0.25, 1.0, 1.0


def handle(event):
    print(event["pos"], event["partitionkey"], event["type"], flush=True)


class Expired(Exception):
    """The cursor is of no use any more; the text says from where to go on."""


class Cursor:
    def __init__(self, path):
        self.path, self.saved_at = path, 0.0
        self.epoch, self.position, self.ahead = 0, 0, set()
        if os.path.exists(path):
            with open(path) as file:
                self.epoch, self.position, *ahead = map(int, file.read().split())
                self.ahead = set(ahead)

    def has(self, position):
        return position <= self.position or position in self.ahead

    def handled(self, position):
        self.ahead.add(position)
        while self.position + 1 in self.ahead:
            self.position += 1
            self.ahead.remove(self.position)

    def handled_up_to(self, position):
        self.position = max(self.position, position)
        self.ahead = {ahead for ahead in self.ahead if ahead > self.position}
        while self.position + 1 in self.ahead:
            self.position += 1
            self.ahead.remove(self.position)

    def save(self):
        if time.monotonic() - self.saved_at < SAVE_EVERY:
            return
        with open(self.path + ".new", "w") as file:
            print(self.epoch, self.position, *sorted(self.ahead), file=file, flush=True)
            os.fsync(file.fileno())
        os.replace(self.path + ".new", self.path)
        self.saved_at = time.monotonic()


class Log:
    def __init__(self, url, key):
        self.url, self.session = url + "/api/v1/events", requests.Session()
        self.session.headers["authorization"] = "Bearer " + key
        self.session.headers["accept"] = "application/cloudevents-batch+json"

    def read(self, cursor):
        """A page after the cursor, or None when the server does not answer now."""
        asked = {"limit": PAGE, "after": cursor.position}
        if cursor.epoch:
            asked["epoch"] = cursor.epoch
        try:
            answer = self.session.get(self.url, params=asked, timeout=5)
        except requests.RequestException:
            return None
        if answer.status_code == 410:
            raise Expired(answer.json()["detail"])
        if answer.status_code == 429 or answer.status_code >= 500:
            time.sleep(min(float(answer.headers.get("retry-after", 1)), 10))
            return None
        answer.raise_for_status()
        if not cursor.epoch:
            cursor.epoch = int(answer.headers["link"].split("epoch=")[1].split("&")[0].split(">")[0])
        return answer.json()


class Redis:
    def __init__(self, url, cursor):
        import redis

        self.streams = [f"{PREFIX}:{SHARDS}:{shard}" for shard in range(SHARDS)]
        self.redis = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        for stream in self.streams:
            try:
                self.redis.xgroup_create(stream, GROUP, f"{cursor.epoch}-{cursor.position}", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        self.received, self.left = [], True

    def receive(self, wait):
        """What an earlier run left unacknowledged comes first."""
        found = None
        if self.left:
            found = self.redis.xreadgroup(GROUP, "reader", dict.fromkeys(self.streams, "0"), count=100)
            self.left = any(entries for _, entries in found)
        if not self.left:
            block = max(1, int(wait * 1000))
            found = self.redis.xreadgroup(GROUP, "reader", dict.fromkeys(self.streams, ">"), count=100, block=block)
        messages = []
        for stream, entries in found or []:
            self.received.append((stream, [entry for entry, _ in entries]))
            messages += [json.loads(fields[b"event"]) for _, fields in entries if fields]
        return messages

    def acknowledge(self):
        for stream, entries in self.received:
            if entries:
                self.redis.xack(stream, GROUP, *entries)
        self.received = []


class RabbitMq:
    def __init__(self, url, cursor):
        import pika

        parameters = pika.URLParameters(url)
        parameters.socket_timeout = parameters.stack_timeout = 2
        parameters.heartbeat = 10
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=100)
        self.messages, self.received = [], []
        for shard in range(SHARDS):
            self.channel.basic_consume(f"{PREFIX}.{SERVICE}.{SHARDS}.{shard}", self.on_message)

    def on_message(self, channel, method, properties, body):
        self.received.append(method.delivery_tag)
        self.messages.append(json.loads(body))

    def receive(self, wait):
        self.connection.process_data_events(time_limit=wait)
        messages, self.messages = self.messages, []
        return messages

    def acknowledge(self):
        for tag in self.received:
            self.channel.basic_ack(tag)
        self.received = []


class Consumer:
    def __init__(self, log, cursor, connect):
        self.log, self.cursor, self.connect = log, cursor, connect
        self.broker, self.again = None, 0.0
        self.of_broker, self.heard = False, 0.0

    def run(self):
        self.read_log()
        while True:
            for message in self.receive():
                if not self.take(message):
                    self.read_log()
                    self.take(message)
            if self.broker:
                self.try_broker(lambda: self.broker.acknowledge())
            if time.monotonic() - self.heard > (SILENCE if self.of_broker else POLL):
                self.read_log()
            self.cursor.save()

    def take(self, message):
        """The rule. Whether nothing is missing."""
        cursor, position = self.cursor, int(message["pos"])
        if int(message["epoch"]) < cursor.epoch or cursor.has(position):
            return True
        fits = int(message["epoch"]) == cursor.epoch and cursor.has(int(message["prevpos"]))
        if not fits or len(cursor.ahead) >= AHEAD_MOST:
            return False
        handle(message)
        cursor.handled(position)
        self.heard, self.of_broker = time.monotonic(), True
        return True

    def read_log(self):
        """To its end."""
        while (page := self.log.read(self.cursor)) is not None:
            for event in page:
                if not self.cursor.has(int(event["pos"])):
                    handle(event)
                    self.of_broker = False
                self.cursor.handled_up_to(int(event["pos"]))
            if len(page) < PAGE:
                break
        self.heard = time.monotonic()

    def receive(self):
        if not self.broker and time.monotonic() >= self.again:
            self.again = time.monotonic() + RECONNECT
            self.try_broker(self.reconnect)
        if not self.broker:
            time.sleep(POLL)
            return []
        return self.try_broker(lambda: self.broker.receive(POLL)) or []

    def reconnect(self):
        self.broker = self.connect(self.cursor)

    def try_broker(self, call):
        """A broker that fails in whatever way is away."""
        try:
            return call()
        except Exception as error:
            print("the broker is away:", type(error).__name__, file=sys.stderr)
            self.broker, self.of_broker = None, False
            return None


if __name__ == "__main__":
    url, key, broker, path = sys.argv[1:]
    way = Redis if broker.startswith("redis") else RabbitMq
    Consumer(Log(url, key), Cursor(path), lambda cursor: way(broker, cursor)).run()
