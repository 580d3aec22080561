// Consumes payg's alerts in Node: each once, in order of `sequence`, acknowledged after it was handled.
//
//   npm ci && PAYG_BROKER_URL=amqp://localhost node consumer.js my-service 'balance.*'
//
// Delivery is at least once. Known ids are dropped here; an effect that must never happen twice, even if this
// process dies in between, should be stored together with `event.id`.

import { setTimeout as pause } from 'node:timers/promises';
import amqp from 'amqplib';

const EXCHANGE = 'alerts';
const SETTLE_MS = 100;
const KNOWN_IDS = 100_000;
const RECONNECT_MS = 1000;

const url = process.env.PAYG_BROKER_URL ?? 'amqp://localhost';
const [queue = 'payg-alert-consumer', routingKey = '#'] = process.argv.slice(2);
const known = new Set();
let stopping = false;

/** What to do with an alert: put your own here. When it throws, the alert comes again. */
async function handle(event) {
  console.log(JSON.stringify(event));
}

async function handleOnce(event) {
  if (known.has(event.id)) return;
  await handle(event);
  known.add(event.id);
  if (known.size > KNOWN_IDS) known.delete(known.values().next().value);
}

/** Handles what arrived within a moment in order, so that alerts that overtook each other stand right again. */
async function handleAll(channel, messages) {
  const events = messages.map((message) => ({ message, event: JSON.parse(message.content.toString()) }));
  events.sort((one, other) => one.event.sequence - other.event.sequence);
  for (const { message, event } of events) {
    await handleOnce(event);
    channel.ack(message);
  }
}

async function consume() {
  const connection = await amqp.connect(url);
  const lost = new Promise((_, reject) => {
    connection.on('error', reject);
    connection.on('close', () => reject(new Error('the connection was closed')));
  });
  lost.catch(() => {});
  try {
    const channel = await connection.createChannel();
    await channel.prefetch(100);
    await channel.assertExchange(EXCHANGE, 'topic', { durable: true });
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    await channel.bindQueue(queue, EXCHANGE, routingKey);
    let arrived = [];
    await channel.consume(queue, (message) => message && arrived.push(message));
    console.error(`consuming ${queue}`);
    while (!stopping) {
      await Promise.race([pause(SETTLE_MS), lost]);
      const messages = arrived;
      arrived = [];
      await handleAll(channel, messages);
    }
  } finally {
    await connection.close().catch(() => {});
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => (stopping = true));
while (!stopping) {
  try {
    await consume();
  } catch (error) {
    console.error(`connecting again: ${error.message}`);
    await pause(RECONNECT_MS);
  }
}
