// Everything together.

function start() {
  const by = (id) => document.getElementById(id);
  const model = decode(by('data').textContent);
  const groups = buildLanes(model.runs);
  const filter = { text: '', hiddenKinds: new Set(), weight: 0, object: null };
  const view = newView(model, groups);
  const app = {
    model, groups, filter, view, matches: [], match: -1, density: new Array(240).fill(0),
    fonts: { lane: '12px system-ui, sans-serif', group: '600 12px system-ui, sans-serif' },
    faults: model.runs.flatMap((run) => run.bars.filter((bar) => bar.style === 'fault')),
    damage: model.runs.flatMap((run) => Array.from(run.weight.keys()).filter((row) => run.weight[row] === WEIGHT.damage).map((row) => ({ at: run.at[row], run: run.number }))),
    objects: objectsByName(groups),
    scroll: () => by('lanes').scrollTop,
  };
  app.painter = newPainter(app, by('timeline'));
  const table = newTable(app, by('list'));
  let asked = false;

  app.redraw = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const width = by('lanes').clientWidth;
      app.painter.paint(app.scroll(), width, by('lanes').clientHeight);
      paintOverview(app, by('overview'), width, 40);
      if (by('in-view').checked) refillTable();
    });
  };

  function refillTable() {
    const count = table.collect(by('in-view').checked);
    const all = model.runs.reduce((sum, run) => sum + run.count, 0);
    const folded = model.runs.reduce((sum, run) => sum + run.folded, 0);
    by('count').textContent = `${count.toLocaleString('en')} of ${counted(all, 'event')}${folded ? `; ${folded.toLocaleString('en')} heartbeats left out` : ''}`;
    table.paint();
  }

  function place() {
    layOut(view, isFiltering(filter), model.runs.length);
    by('height').style.height = `${Math.max(0, view.height + SIZE.ruler)}px`;
    app.redraw();
  }

  app.refilter = () => {
    applyFilter(model, filter);
    filterLanes(groups, model.runs);
    app.density.fill(0);
    for (const run of model.runs) {
      for (let row = 0; row < run.count; row += 1) {
        if (run.shown[row]) app.density[Math.min(239, Math.floor((run.at[row] / view.end) * 240))] += 1;
      }
    }
    by('about').hidden = filter.object === null;
    if (filter.object) by('about').replaceChildren(link('✕', () => app.onlyAbout(null), 'Show everything again'), `only about ${filter.object.kind} ${ownName(filter.object.name)}`);
    by('about').title = by('about').textContent.slice(1);
    by('unfilter').hidden = !isFiltering(filter) && !groups.some((group) => group.hidden);
    place();
    refillTable();
    search(false);
  };

  app.select = (event, go = false) => {
    view.selected = event;
    by('panel').hidden = event === null;
    if (event) {
      fillPanel(app, by('panel'), event.run, event.row);
      if (go) bringIntoView(event);
      table.reveal(event.run, event.row);
    }
    table.paint();
    app.redraw();
  };

  /** Opens the event's group and scrolls to it. */
  function bringIntoView({ run, row }) {
    const lane = run.laneOf(row);
    if (!lane.group.open && !lane.group.hidden) lane.group.open = true;
    place();
    reveal(view, run.at[row]);
    const standing = rowOf(view, lane);
    const lanes = by('lanes');
    if (standing && (standing.y < lanes.scrollTop || standing.y + standing.height > lanes.scrollTop + lanes.clientHeight - SIZE.ruler)) {
      lanes.scrollTop = standing.y - lanes.clientHeight / 3;
    }
  }

  app.onlyAbout = (object) => {
    filter.object = object;
    if (object) groups.forEach((group) => { if (group.label === object.kind) group.open = true; });
    app.refilter();
  };

  app.toggle = (group) => {
    group.open = !group.open;
    place();
  };

  app.openAll = (open) => {
    groups.forEach((group) => { group.open = open; });
    place();
  };

  app.showFirst = () => {
    show(view, model.runs[0].from, model.runs[0].to);
    app.redraw();
  };

  app.goTo = (at) => {
    by('explorer').scrollIntoView({ behavior: 'instant', block: 'start' });
    const span = Math.min(view.to - view.from, 20e9);
    show(view, at - span * 0.7, at + span * 0.3);
    table.reveal(null, 0, at);
    app.redraw();
  };

  function search(move) {
    app.matches = findAll(model, by('find').value);
    app.match = -1;
    tellMatches();
    if (move && app.matches.length) app.findNext(1);
  }

  function tellMatches() {
    const { length } = app.matches;
    by('found').textContent = by('find').value.trim() === '' ? '' : length === 0 ? 'none' : `${app.match < 0 ? '' : `${app.match + 1} of `}${length.toLocaleString('en')}`;
  }

  app.findNext = (step) => {
    const { length } = app.matches;
    if (!length) return;
    if (app.match < 0) {
      const first = lowerBound(length, (index) => app.matches[index].run.at[app.matches[index].row], view.from);
      app.match = step > 0 ? first % length : (first + length - 1) % length;
    } else app.match = (app.match + step + length) % length;
    tellMatches();
    app.select(app.matches[app.match], true);
  };
  app.focusFind = () => by('find').focus();
  app.focusFilter = () => by('filter').focus();

  listen(app, by, table, refillTable, search);
  app.refilter();
  // The list begins where the story ends.
  table.reveal(null, 0, app.damage.length ? app.damage[0].at : view.from);
  table.paint();
}

/** Ties the controls to what they do. */
function listen(app, by, table, refillTable, search) {
  const { view, filter, model, groups } = app;
  const later = (act) => {
    let timer = 0;
    return () => { clearTimeout(timer); timer = setTimeout(act, 120); };
  };
  by('filter').addEventListener('input', later(() => { filter.text = by('filter').value; app.refilter(); }));
  by('find').addEventListener('input', later(() => search(true)));
  by('find').addEventListener('keydown', (event) => { if (event.key === 'Enter') app.findNext(event.shiftKey ? -1 : 1); });
  by('weight').addEventListener('change', () => { filter.weight = Number(by('weight').value); app.refilter(); });
  by('in-view').addEventListener('change', refillTable);
  const acts = {
    'zoom-in': () => zoom(view, 0.6), 'zoom-out': () => zoom(view, 1.6), all: () => show(view, 0, view.end), first: () => app.showFirst(),
    next: () => app.findNext(1), previous: () => app.findNext(-1),
    unfilter: () => {
      Object.assign(filter, { text: '', weight: 0, object: null });
      filter.hiddenKinds.clear();
      groups.forEach((group) => { group.hidden = false; });
      by('filter').value = '';
      by('weight').value = '0';
      checks();
      app.refilter();
    },
  };
  for (const [id, act] of Object.entries(acts)) by(id).addEventListener('click', () => { act(); app.redraw(); });

  /** Boxes for kinds and groups. */
  function checks() {
    const counts = new Map();
    for (const run of model.runs) run.kind.forEach((kind) => counts.set(kind, (counts.get(kind) || 0) + 1));
    const box = (label, checked, act) => element('label', {}, element('input', { type: 'checkbox', checked, onchange: (event) => { act(event.target.checked); app.refilter(); } }), label);
    const kinds = model.kinds.filter((kind) => counts.has(kind.number)).map((kind) => box(`${kind.name} (${counts.get(kind.number)})`, !filter.hiddenKinds.has(kind.number), (on) => {
      if (on) filter.hiddenKinds.delete(kind.number); else filter.hiddenKinds.add(kind.number);
    }));
    by('kinds').replaceChildren(...kinds);
    by('groups').replaceChildren(...groups.map((group) => box(group.label, !group.hidden, (on) => { group.hidden = !on; })));
  }
  checks();

  listenToTimeline(app, by('timeline'), by('lanes'), by('tip'));
  listenToOverview(app, by('overview'));
  listenToKeys(app);
  by('lanes').addEventListener('scroll', app.redraw, { passive: true });
  new ResizeObserver(() => { app.redraw(); table.paint(); }).observe(by('lanes'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { app.painter.recolour(); app.redraw(); });
  for (const button of document.querySelectorAll('button.time')) button.addEventListener('click', () => app.goTo(Number(button.dataset.at)));
  for (const button of document.querySelectorAll('[data-copy]')) button.addEventListener('click', () => copyText(button.previousElementSibling.textContent, button));
  for (const line of document.querySelectorAll('ol.lines li')) {
    const at = parseClock(line.textContent);
    if (at !== null) {
      line.classList.add('timed');
      line.title = 'Show it in the timeline';
      line.addEventListener('click', () => { if (getSelection().isCollapsed) app.goTo(at); });
    }
  }
  // Menus close when somebody clicks elsewhere.
  document.addEventListener('click', (event) => {
    for (const menu of document.querySelectorAll('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false;
  });
}

start();
