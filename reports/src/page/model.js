// The embedded runs, decoded: columns for what is looked at often, rows for the rest.

const HEAD = 7;
const WEIGHT = { plain: 0, odd: 1, bad: 2, damage: 3 };

/** The first index in `sorted` (as `key` sees it) whose key is not below `value`. */
function lowerBound(length, key, value) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(middle) < value) low = middle + 1; else high = middle;
  }
  return low;
}

/** Kinds of rows, with where their texts stand. */
function decodeKinds(kinds) {
  return kinds.map(([name, fields], number) => ({
    name,
    number,
    fields: fields.map(([label, type], index) => ({ label, type, index: HEAD + index })),
    texts: fields.flatMap(([, type], index) => (type === 't' ? [HEAD + index] : [])),
  }));
}

/** A run with its columns. */
function decodeRun(raw, number) {
  const count = raw.events.length;
  const run = {
    ...raw,
    number,
    count,
    at: new Float64Array(count),
    sequence: new Float64Array(count),
    kind: new Uint8Array(count),
    weight: new Uint8Array(count),
    lane: new Int32Array(count),
    shown: new Uint8Array(count).fill(1),
    bySequence: new Map(),
    madeBy: new Map(),
    madeWrite: new Map(),
  };
  let at = 0;
  for (let row = 0; row < count; row += 1) {
    const event = raw.events[row];
    at += event[2];
    run.at[row] = at;
    run.sequence[row] = event[3];
    run.kind[row] = event[0];
    run.weight[row] = event[1];
    run.lane[row] = event[4];
    if (event[3]) run.bySequence.set(event[3], row);
  }
  for (let index = 0; index < raw.made.length; index += 2) {
    run.madeWrite.set(raw.made[index], raw.made[index + 1]);
    run.madeBy.set(raw.made[index + 1], raw.made[index]);
  }
  run.bars = raw.bars.map(([lane, from, to, style, label, begins, ends]) => ({
    lane, from, to, style, label: raw.strings[label], begins: begins - 1, ends: ends - 1, run: number,
  }));
  return run;
}

/** Everything that is embedded. */
function decode(text) {
  const raw = JSON.parse(text);
  const kinds = decodeKinds(raw.kinds);
  return { kinds, runs: raw.runs.map((run, number) => decodeRun(run, number)), parted: raw.parted, decided: raw.decided };
}

/** A field of a row by its name, as a string or a number; undefined if its kind has none of that name. */
function field(model, run, row, label) {
  const found = model.kinds[run.kind[row]].fields.find((known) => known.label === label);
  if (!found) return undefined;
  const value = run.events[row][found.index];
  return found.type === 't' ? run.strings[value] : value;
}

function kindOf(model, run, row) {
  return model.kinds[run.kind[row]].name;
}

/** Who did it, in short. */
function who(run, row) {
  const process = run.processes[run.events[row][5]];
  return process ? run.strings[process[3]] : '';
}

/** What a row read: eight numbers a read, decoded. */
function readsOf(run, row) {
  const flat = run.reads[row] || [];
  const reads = [];
  for (let index = 0; index < flat.length; index += 8) {
    const [kind, name, version, age, cached, saw, missed, count] = flat.slice(index, index + 8);
    reads.push({
      kind: run.strings[kind], name: run.strings[name], version, age, cached: cached === 1, saw: saw - 1, missed: missed - 1, count,
    });
  }
  return reads;
}

/** What a row changed: pairs of field and value. */
function changesOf(run, row) {
  const flat = run.changes[row] || [];
  const changes = [];
  for (let index = 0; index < flat.length; index += 2) changes.push([run.strings[flat[index]], run.strings[flat[index + 1]]]);
  return changes;
}

/** The object that a row is to: kind and name, or null. */
function objectOf(model, run, row) {
  const name = kindOf(model, run, row);
  if (!name.startsWith('api-')) return null;
  return { kind: field(model, run, row, 'kind'), name: field(model, run, row, 'name') };
}

/** A row as one line. */
function say(model, run, row) {
  const get = (label) => field(model, run, row, label);
  switch (kindOf(model, run, row)) {
    case 'run-began': return `${get('what')}, seed ${get('seed')}`;
    case 'phase': return get('name');
    case 'machine': return `${get('name')} is ${get('state')}`;
    case 'process-began': return `${get('name')} begins on ${get('machine')} at ${get('address')}`;
    case 'process-ended': return `${get('name')} ${get('how')}`;
    case 'panicked': return `${get('message')} (${get('location')})`;
    case 'executed': return `${get('command')}: ${get('exit status')}, took ${duration(get('took'))}`;
    case 'connected': return `to ${get('to')}: ${get('outcome')}`;
    case 'api-request': return `${get('verb')} ${sayObject(get)}: ${get('code') || 'no answer'}${get('within') ? ` (${get('within')})` : ''}`;
    case 'api-write': return `${get('verb')} ${sayObject(get)}${get('deleting') ? ', deleting' : ''}${sayChanges(run, row, get('verb'))}`;
    case 'api-refused': return `${get('verb')} ${sayObject(get)} refused: ${get('code')} ${get('reason')} (to ${get('client')})`;
    case 'store-operation': return `${get('verb')} ${get('key')}: ${get('code')}, ${counted(get('bytes'), 'byte')} (by ${get('client')})`;
    case 'call': return `${get('method')} at ${get('peer')}: ${get('outcome')}, took ${duration(get('took'))}`;
    case 'step': return `${get('what')}: ${get('outcome')}`;
    case 'fault': return `${get('fault')} of ${get('target')} ${get('phase')}`;
    case 'probe': return get('name');
    case 'hazard': return `${get('name')}: ${get('object')}, ${get('detail')}`;
    case 'violation': return `${get('oracle')}: ${get('detail')}`;
    case 'log': return `${get('level')} ${get('text')}`;
    case 'note': return get('text');
    default: return get('value') || '';
  }
}

function sayObject(get) {
  return `${get('kind')}${get('subresource') ? `/${get('subresource')}` : ''} ${ownName(get('name'))}`;
}

/** The first few fields that an update changed. */
function sayChanges(run, row, verb) {
  if (verb !== 'update') return '';
  const changes = changesOf(run, row);
  if (!changes.length) return '';
  const told = changes.slice(0, 3).map(([name, value]) => `${name.replace(/^status\./, '')} = ${value.length > 40 ? `${value.slice(0, 40)}…` : value || 'gone'}`);
  return `: ${told.join(', ')}${changes.length > 3 ? `, ${changes.length - 3} more` : ''}`;
}
