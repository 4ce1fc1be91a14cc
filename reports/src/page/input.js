// Hands: wheel, drag, keys, hover.

/** What stands at a point of the timeline: a row of the layout, and the event or bar nearest to the pointer. */
function hit(app, x, y) {
  const { view, model } = app;
  const place = rowAt(view, y - SIZE.ruler + app.scroll());
  if (!place || x < view.gutter || y < SIZE.ruler) return { place: y < SIZE.ruler ? null : place, event: null, bar: null };
  const holder = place.lane || place.group;
  const share = place.height / holder.tracks.length;
  const number = Math.min(holder.tracks.length - 1, Math.max(0, Math.floor((y - SIZE.ruler + app.scroll() - place.y) / share)));
  const run = model.runs[number];
  const track = holder.tracks[number];
  if (!place.lane && place.group.open) return { place, event: null, bar: null };
  const event = nearest(view, run, track.loud, x, 4) ?? nearest(view, run, track.visible, x, 5);
  const at = timeAt(view, x);
  const bar = place.lane ? track.bars.findLast((each) => each.from <= at && each.to >= at) || null : null;
  return { place, event: event === null ? null : { run, row: event }, bar };
}

/** The row nearest to the pointer, within a few pixels. */
function nearest(view, run, rows, x, within) {
  const after = lowerBound(rows.length, (index) => run.at[rows[index]], timeAt(view, x));
  const near = [after - 1, after].filter((index) => index >= 0 && index < rows.length)
    .map((index) => ({ row: rows[index], far: Math.abs(xOf(view, run.at[rows[index]]) - x) }))
    .filter(({ far }) => far <= within)
    .sort((one, other) => one.far - other.far);
  return near.length ? near[0].row : null;
}

/** Mouse and wheel on the timeline. */
function listenToTimeline(app, canvas, scroller, tip) {
  const { view } = app;
  let grip = null;
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener('wheel', (event) => {
    const [x] = point(event);
    if (x < view.gutter) return;
    event.preventDefault();
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (event.shiftKey || sideways) pan(view, (sideways ? event.deltaX : event.deltaY) / 900);
    else zoom(view, Math.exp(Math.max(-1, Math.min(1, event.deltaY / 350))), timeAt(view, x));
    app.redraw();
  }, { passive: false });

  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    const [x, y] = point(event);
    grip = { x, y, from: view.from, to: view.to, scroll: app.scroll(), moved: false, selects: y < SIZE.ruler && x > view.gutter };
    canvas.setPointerCapture(event.pointerId);
    tip.hidden = true;
  });

  canvas.addEventListener('pointermove', (event) => {
    const [x, y] = point(event);
    if (!grip) return hover(event, x, y);
    if (Math.abs(x - grip.x) + Math.abs(y - grip.y) > 4) grip.moved = true;
    if (!grip.moved || grip.x < view.gutter) return undefined;
    if (grip.selects) view.range = [timeAt(view, Math.max(grip.x, view.gutter)), timeAt(view, Math.max(x, view.gutter))].sort((a, b) => a - b);
    else {
      const by = ((x - grip.x) / (view.width - view.gutter)) * (grip.to - grip.from);
      show(view, grip.from - by, grip.to - by);
      scroller.scrollTop = grip.scroll - (y - grip.y);
    }
    return app.redraw();
  });

  canvas.addEventListener('pointerup', (event) => {
    const held = grip;
    grip = null;
    if (!held) return;
    if (view.range) {
      show(view, view.range[0], view.range[1]);
      view.range = null;
      app.redraw();
    } else if (!held.moved) click(...point(event));
  });

  function click(x, y) {
    const { place, event } = hit(app, x, y);
    if (!place) return;
    if (x < view.gutter && place.lane && place.lane.object) app.onlyAbout({ kind: place.lane.object[0], name: place.lane.object[1] });
    else if (!place.lane && (x < view.gutter || place.group.open || !event)) app.toggle(place.group);
    else if (event) app.select(event);
    else if (hit(app, x, y).bar) clickBar(hit(app, x, y).bar);
  }

  function clickBar(bar) {
    if (bar.begins >= 0) app.select({ run: app.model.runs[bar.run], row: bar.begins });
  }

  function hover(event, x, y) {
    const found = hit(app, x, y);
    if (view.hovered !== found.place) {
      view.hovered = found.place;
      app.redraw();
    }
    canvas.style.cursor = found.event || (x < view.gutter && found.place) ? 'pointer' : y < SIZE.ruler && x > view.gutter ? 'col-resize' : 'default';
    const lines = tipLines(app, found, x);
    tip.hidden = lines.length === 0;
    if (!lines.length) return;
    tip.replaceChildren(...lines.map((line, index) => element('div', { class: index ? '' : 'first' }, line)));
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - box.width - 8)}px`;
    tip.style.top = `${event.clientY + 18 + box.height > window.innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
  }

  canvas.addEventListener('pointerleave', () => {
    tip.hidden = true;
    view.hovered = null;
    app.redraw();
  });
  canvas.addEventListener('dblclick', (event) => {
    const [x] = point(event);
    if (x > view.gutter) { zoom(view, 0.4, timeAt(view, x)); app.redraw(); }
  });
}

/** What a tooltip says. */
function tipLines(app, { place, event, bar }, x) {
  const { model, view } = app;
  if (event) {
    const { run, row } = event;
    const by = who(run, row);
    const stale = readsOf(run, row).filter((read) => read.missed >= 0);
    return [
      `${clock(run.at[row])}  ${kindOf(model, run, row)}${run.number ? ' (twin)' : ''}`,
      say(model, run, row),
      ...(by ? [`by ${by}`] : []),
      ...(stale.length ? [`had read ${stale[0].kind} ${ownName(stale[0].name)} ${duration(stale[0].age)} before, and missed ${counted(stale[0].count, 'write')}`] : []),
    ];
  }
  if (bar) return [`${place.lane.label}: ${bar.label || bar.style}${bar.run ? ' (twin)' : ''}`, `${clock(bar.from)} to ${clock(bar.to)}, ${duration(bar.to - bar.from)}`];
  if (place && x < view.gutter && place.lane && place.lane.object) return [place.lane.object.join(' '), 'Click: only what is about it'];
  return place && x < view.gutter && place.lane ? [place.lane.label] : [];
}

/** Drags and clicks in the strip of the whole run. */
function listenToOverview(app, canvas) {
  const { view } = app;
  const time = (event) => {
    const box = canvas.getBoundingClientRect();
    return ((event.clientX - box.left - view.gutter) / (box.width - view.gutter)) * view.end;
  };
  let begun = null;
  canvas.addEventListener('pointerdown', (event) => {
    begun = { at: time(event), span: view.to - view.from, inside: time(event) >= view.from && time(event) <= view.to, offset: time(event) - view.from };
    canvas.setPointerCapture(event.pointerId);
    if (!begun.inside) move(event);
  });
  const move = (event) => {
    const at = time(event);
    if (begun.inside) show(view, at - begun.offset, at - begun.offset + begun.span);
    else if (Math.abs(at - begun.at) > view.end / 200) show(view, Math.min(at, begun.at), Math.max(at, begun.at));
    else show(view, at - begun.span / 2, at + begun.span / 2);
    app.redraw();
  };
  canvas.addEventListener('pointermove', (event) => { if (begun) move(event); });
  canvas.addEventListener('pointerup', () => { begun = null; });
}

/** Keys, unless somebody types. */
function listenToKeys(app) {
  const acts = {
    ArrowLeft: () => pan(app.view, -0.15), ArrowRight: () => pan(app.view, 0.15), a: () => pan(app.view, -0.15), d: () => pan(app.view, 0.15),
    '+': () => zoom(app.view, 0.7), '=': () => zoom(app.view, 0.7), w: () => zoom(app.view, 0.7), '-': () => zoom(app.view, 1.4), s: () => zoom(app.view, 1.4),
    0: () => show(app.view, 0, app.view.end), r: () => app.showFirst(), n: () => app.findNext(1), N: () => app.findNext(-1),
    Escape: () => app.select(null), '/': () => app.focusFind(), f: () => app.focusFilter(),
    o: () => app.openAll(true), c: () => app.openAll(false),
  };
  document.addEventListener('keydown', (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === 'Escape' && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
    app.redraw();
  });
}
