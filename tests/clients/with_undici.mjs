// Node's fetch with undici's ProxyAgent as its dispatcher. `UNDICI` is where the package is.
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { inspect } from 'node:util';

const { ProxyAgent, fetch } = createRequire(import.meta.url)(process.env.UNDICI);
const env = process.env;
const origins = { forward: env.HTTP, connect: env.HTTPS };
const trust = { ca: readFileSync(env.CA) };

function agent(credentials = true) {
  const made = { uri: `http://${env.PROXY}`, requestTls: trust, connections: 1 };
  // Plain HTTP goes in absolute-form; where this is not known, through a tunnel too.
  made.proxyTunnel = false;
  if (credentials) {
    made.token = 'Basic ' + Buffer.from(`${env.PROXY_USER}:${env.PROXY_PASSWORD}`).toString('base64');
  }
  return new ProxyAgent(made);
}

async function small(dispatcher, origin) {
  const answer = await fetch(origin + '/small', { dispatcher });
  const text = await answer.text();
  console.log(answer.status, answer.ok ? text : '');
}

async function refused(origin) {
  try {
    const answer = await fetch(origin + '/small', { dispatcher: agent(false) });
    console.log(answer.status);
  } catch (error) {
    console.log(inspect(error).includes('(407)') ? '407' : error);
  }
}

const [scenario, way] = env.SCENARIO.split('-');
if (scenario in origins) {
  await small(agent(), origins[scenario]);
} else if (scenario === 'auth') {
  await refused(origins[way]);
  await small(agent(), origins[way]);
} else if (scenario === 'keep') {
  const dispatcher = agent();
  for (let i = 0; i < 5; i++) await small(dispatcher, origins[way]);
} else if (scenario === 'download') {
  for (const origin of Object.values(origins)) {
    const answer = await fetch(origin + '/big', { dispatcher: agent() });
    const digest = createHash('sha256');
    for await (const part of answer.body) digest.update(part);
    console.log(answer.status, digest.digest('hex'));
  }
} else if (scenario === 'upload') {
  for (const origin of Object.values(origins)) {
    const answer = await fetch(origin + '/upload', {
      method: 'POST',
      body: createReadStream(env.FILE),
      duplex: 'half',
      headers: { 'content-length': String(statSync(env.FILE).size) },
      dispatcher: agent(),
    });
    console.log(answer.status, await answer.text());
  }
}
process.exit(0);
