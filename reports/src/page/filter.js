// What is shown: by kind, by weight, by text, by object. And what is found among it.

/** Words of a query; all must be met, those with a minus must not. */
function parseQuery(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean)
    .map((word) => (word.length > 1 && word[0] === '-' ? { word: word.slice(1), not: true } : { word, not: false }));
}

/** For each word, which strings of the run have it: texts are looked through once, not once a row. */
function wordSets(run, query) {
  const lower = run.lower || (run.lower = run.strings.map((text) => text.toLowerCase()));
  return query.map(({ word, not }) => ({ not, has: Uint8Array.from(lower, (text) => (text.includes(word) ? 1 : 0)) }));
}

/** Whether a row has a string of this set. */
function rowHas(model, run, row, has, withReads) {
  const event = run.events[row];
  for (const index of model.kinds[event[0]].texts) if (has[event[index]]) return true;
  const process = run.processes[event[5]];
  if (process && (has[process[0]] || has[process[3]])) return true;
  const changes = run.changes[row];
  if (changes && changes.some((text) => has[text])) return true;
  const reads = withReads ? run.reads[row] : null;
  if (reads) for (let index = 1; index < reads.length; index += 8) if (has[reads[index]]) return true;
  return false;
}

/** Whether a row meets a query. */
function rowMeets(model, run, row, sets) {
  return sets.every(({ not, has }) => rowHas(model, run, row, has, false) !== not);
}

/** Strings that say the object's name as a word of its own. */
function stringsOfObject(run, object) {
  const name = ownName(object.name);
  const safe = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const word = new RegExp(`(^|[^\\w.-])${safe}($|[^\\w-])`);
  return Uint8Array.from(run.strings, (text) => (text === object.name || word.test(text) ? 1 : 0));
}

/** Whether a row is about an object: it is to it, had read it, or says its name. */
function isAbout(model, run, row, object, has) {
  const to = objectOf(model, run, row);
  const sameName = to && to.name === object.name;
  if (sameName && to.kind === object.kind) return true;
  // One name is often shared by objects of several kinds; those have their own stories.
  if (sameName) return false;
  const reads = readsOf(run, row);
  if (reads.some((read) => read.kind === object.kind && read.name === object.name)) return true;
  return rowHas(model, run, row, has, false);
}

/** Marks in every run which rows are shown. */
function applyFilter(model, filter) {
  let shown = 0;
  for (const run of model.runs) {
    const sets = wordSets(run, parseQuery(filter.text));
    const has = filter.object ? stringsOfObject(run, filter.object) : null;
    for (let row = 0; row < run.count; row += 1) {
      const passes = !filter.hiddenKinds.has(run.kind[row])
        && run.weight[row] >= filter.weight
        && !run.laneOf(row).group.hidden
        && (!sets.length || rowMeets(model, run, row, sets))
        && (!has || isAbout(model, run, row, filter.object, has));
      run.shown[row] = passes ? 1 : 0;
      shown += passes ? 1 : 0;
    }
  }
  return shown;
}

/** Whether anything is left out by the filter (hidden groups apart): then empty lanes are left out too. */
function isFiltering(filter) {
  return filter.text.trim() !== '' || filter.object !== null || filter.weight > 0 || filter.hiddenKinds.size > 0;
}

/** All shown rows that meet a query, by time: pairs of run and row. */
function findAll(model, text) {
  const query = parseQuery(text);
  if (!query.length) return [];
  const found = [];
  for (const run of model.runs) {
    const sets = wordSets(run, query);
    for (let row = 0; row < run.count; row += 1) {
      if (run.shown[row] && rowMeets(model, run, row, sets)) found.push({ run, row });
    }
  }
  return found.sort((one, other) => one.run.at[one.row] - other.run.at[other.row] || one.row - other.row);
}
