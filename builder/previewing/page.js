"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const rows = [...viewer.querySelectorAll(".row")];
  if (!rows.length) return;
  const status = document.getElementById("status");
  const chooser = document.getElementById("chooser");
  const ways = document.getElementById("ways");
  const position = document.getElementById("position");
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");
  const film = document.querySelector(".strip");
  const thumbnails = film ? [...film.children] : [];
  const choices = [...chooser.options];
  const parts = new Map(); // the results of `open`, by the row's place on the page
  const sorting = { column: 0, falling: false }; // how masks are sorted, the same for all rows
  let order = []; // the places on the page of the rows that the chosen way shows
  let current = -1; // the place of the row that is shown

  // Called when a row is shown for the first time: activates its shapes and its list of masks.
  const open = (row) => {
    const stage = row.querySelector(".stage");
    const group = row.querySelector(".shapes");
    const list = row.querySelector(".masks");
    const readout = row.querySelector(".readout");
    const here = row.querySelector(".here");
    const byNumber = (nodes) => new Map([...nodes].map((node) => [node.dataset.mask, node]));
    const shapes = byNumber(group.children);
    const options = byNumber(list ? list.children : []);
    let lit = null;
    let sorted = "0 false"; // the column and direction that the list is sorted by

    const isOn = (number) => options.get(number).getAttribute("aria-selected") === "true";
    const label = (number) => options.get(number).getAttribute("aria-label");
    const light = (number, scroll) => {
      for (const node of lit === null ? [] : [shapes.get(lit), options.get(lit)]) node.classList.remove("lit");
      lit = number;
      group.classList.toggle("pointing", lit !== null);
      if (lit === null) {
        readout.textContent = readout.dataset.hint;
        return;
      }
      const option = options.get(lit);
      for (const node of [shapes.get(lit), option]) node.classList.add("lit");
      readout.textContent = label(lit) + (isOn(lit) ? "" : ", switched off");
      if (scroll) {
        const top = option.offsetTop - list.offsetTop;
        if (top < list.scrollTop) list.scrollTop = top;
        else if (top + option.offsetHeight > list.scrollTop + list.clientHeight)
          list.scrollTop = top + option.offsetHeight - list.clientHeight;
      }
    };
    const turn = (number, on) => {
      options.get(number).setAttribute("aria-selected", String(on));
      shapes.get(number).classList.toggle("off", !on);
      here.querySelector(`[data-mask="${number}"]`)?.setAttribute("aria-pressed", String(on));
    };
    const toggle = (number) => {
      turn(number, !isOn(number));
      light(number, false);
      status.textContent = `Mask ${number} ${isOn(number) ? "on" : "off"}`;
    };
    const numberOf = (event) => event.target.closest("[data-mask]")?.dataset.mask ?? null;

    // Masks may cover each other, so each mask at the point gets a button, the topmost first.
    const listThose = (x, y) => {
      const found = document.elementsFromPoint(x, y).filter((node) => shapes.get(node.dataset.mask) === node);
      here.replaceChildren(...(found.length > 1 ? ["Here, from the top:"] : []), ...found.map((shape) => {
        const button = document.createElement("button");
        const colour = document.createElement("i");
        const { mask } = shape.dataset;
        button.type = "button";
        button.dataset.mask = mask;
        button.setAttribute("aria-pressed", String(isOn(mask)));
        button.setAttribute("aria-label", label(mask));
        colour.style.background = shape.style.color;
        button.append(colour, mask);
        return button;
      }));
    };

    const active = () => list.querySelector(".active") ?? list.children[0];
    const activate = (option) => {
      list.querySelector(".active")?.classList.remove("active");
      option.classList.add("active");
      list.setAttribute("aria-activedescendant", option.id);
      light(option.dataset.mask, true);
    };
    const headers = [...row.querySelectorAll(".columns button")];
    const sort = () => {
      const wanted = `${sorting.column} ${sorting.falling}`;
      if (sorted === wanted) return;
      sorted = wanted;
      const valueOf = (option) => option.querySelectorAll("span")[sorting.column].textContent;
      const sign = sorting.falling ? -1 : 1;
      const compare = (a, b) => {
        const [one, other] = [a, b].map((text) => Number(text.replaceAll(",", "")));
        if (Number.isNaN(one) !== Number.isNaN(other)) return Number.isNaN(one) ? 1 : -1; // "-" is last
        return sign * (Number.isNaN(one) ? a.localeCompare(b) : one - other);
      };
      const pairs = [...options.values()].map((option) => [valueOf(option), option]);
      pairs.sort(([a, one], [b, other]) => compare(a, b) || one.dataset.mask - other.dataset.mask);
      list.append(...pairs.map(([, option]) => option));
      headers.forEach((header, i) => {
        header.setAttribute("aria-pressed", String(i === sorting.column));
        header.classList.toggle("falling", i === sorting.column && sorting.falling);
      });
    };

    let typed = "";
    let typedAt = 0;
    // Finds the next mask whose number or category begins with the typed text, and wraps around.
    const find = (key, time) => {
      typed = (time - typedAt > 1000 ? "" : typed) + key.toLowerCase();
      typedAt = time;
      const all = [...list.children];
      const at = all.indexOf(active()) + (typed.length > 1 ? 0 : 1);
      const ahead = [...all.slice(at), ...all.slice(0, at)];
      const begins = (option) => [...option.querySelectorAll(".name")].some((name) => name.textContent.toLowerCase().startsWith(typed));
      return ahead.find((option) => option.dataset.mask === typed) ?? ahead.find(begins);
    };
    const onKey = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const all = [...list.children];
      const at = all.indexOf(active());
      const page = Math.max(1, Math.floor(list.clientHeight / all[0].offsetHeight) - 1);
      const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1, PageDown: at + page, PageUp: at - page };
      if (event.key in moves) {
        typed = "";
        activate(all[Math.min(all.length - 1, Math.max(0, moves[event.key]))]);
      } else if (event.key === " " || event.key === "Enter") toggle(active().dataset.mask);
      else if (event.key === "Escape") light(null);
      else if (event.key.length === 1) {
        const found = find(event.key, event.timeStamp);
        if (found) activate(found);
      } else return;
      event.preventDefault();
    };

    readout.textContent = readout.dataset.hint;
    if (list) {
      for (const place of [group, list, here]) {
        place.addEventListener("pointerover", (event) => light(numberOf(event), place === group));
        place.addEventListener("pointerleave", () => light(null));
        place.addEventListener("click", (event) => {
          const number = numberOf(event);
          if (number === null) return;
          if (place === list) activate(options.get(number));
          toggle(number);
        });
      }
      stage.addEventListener("click", (event) => listThose(event.clientX, event.clientY));
      here.addEventListener("focusin", (event) => light(numberOf(event), true));
      list.addEventListener("focus", () => { if (list.matches(":focus-visible")) activate(active()); });
      for (const place of [list, here]) place.addEventListener("focusout", () => light(null));
      list.addEventListener("keydown", onKey);
      headers.forEach((header, i) => header.addEventListener("click", () => {
        const again = sorting.column === i;
        sorting.falling = again ? !sorting.falling : header.dataset.falls === "true";
        sorting.column = i;
        sort();
        list.scrollTop = 0;
        status.textContent = `Sorted by ${header.textContent}, ${sorting.falling ? "falling" : "rising"}`;
      }));
    }
    for (const button of row.querySelectorAll("[data-all]"))
      button.addEventListener("click", () => {
        const on = button.dataset.all === "on";
        for (const number of options.keys()) turn(number, on);
        status.textContent = `All ${options.size} ${options.size === 1 ? "mask" : "masks"} ${button.dataset.all}`;
      });
    return {
      show: () => { if (list) sort(); },
      hide: () => { light(null); here.replaceChildren(); },
    };
  };

  const turnTo = (place) => {
    const held = document.activeElement?.closest(".row") ? document.activeElement : null;
    if (current >= 0) {
      parts.get(current).hide();
      rows[current].classList.remove("current");
      thumbnails[current]?.classList.remove("current");
    }
    current = place;
    const row = rows[place];
    row.classList.add("current");
    if (!parts.has(place)) parts.set(place, open(row));
    parts.get(place).show();
    if (film) {
      const thumbnail = thumbnails[place];
      thumbnail.classList.add("current");
      film.scrollLeft = thumbnail.offsetLeft - film.offsetLeft - film.clientWidth / 2 + thumbnail.clientWidth / 2;
    }
    // The focused element is hidden now, so the same element of the new row gets the focus.
    if (held) (held.matches(".masks") && row.querySelector(".masks") || chooser).focus();
  };
  const show = (place, say) => {
    if (place !== current) turnTo(place);
    const row = rows[place];
    const at = order.indexOf(place);
    chooser.value = String(place);
    position.textContent = `${at + 1} of ${order.length}`;
    // Not `disabled`: a disabled button would lose the focus, and keyboard users their place.
    previous.setAttribute("aria-disabled", String(at === 0));
    next.setAttribute("aria-disabled", String(at === order.length - 1));
    if (say) {
      const count = row.querySelectorAll(".masks li").length;
      status.textContent = `Row ${at + 1} of ${order.length}: ${row.getAttribute("aria-label")}, ${count} masks`;
      try { history.replaceState(null, "", `#row-${place + 1}`); } catch { /* some browsers forbid this for local files */ }
    }
  };
  const step = (by) => {
    const at = order.indexOf(current) + by;
    if (at in order) show(order[at], true);
  };
  // Chooses a way through the rows, and shows its first row.
  const go = (way, say) => {
    ways.value = way;
    order = ways.selectedOptions[0].dataset.places.split(" ").map(Number);
    chooser.replaceChildren(...order.map((place) => choices[place]));
    film?.replaceChildren(...order.map((place) => thumbnails[place]));
    show(order[0], say);
  };
  const fromAddress = (say) => {
    const found = /^#row-(\d+)$/.exec(location.hash);
    const place = found ? Number(found[1]) - 1 : -1;
    if (!(place in rows)) return;
    if (!order.includes(place)) go("all", false);
    show(place, say);
  };

  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  chooser.addEventListener("change", () => show(Number(chooser.value), true));
  ways.addEventListener("change", () => go(ways.value, true));
  thumbnails.forEach((button, place) => button.addEventListener("click", () => show(place, true)));
  for (const card of document.querySelectorAll("[data-way]"))
    card.addEventListener("click", (event) => {
      go(card.dataset.way, true);
      document.getElementById("rows").focus(); // scrolls there too
      event.preventDefault();
    });
  window.addEventListener("hashchange", () => fromAddress(true));
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.target.matches("input, select, .wide")) return; // these elements use the arrow keys themselves
    step(by);
    event.preventDefault();
  });
  for (const set of document.querySelectorAll("[data-sets]"))
    set.addEventListener("change", (event) => { viewer.dataset[set.dataset.sets] = event.target.value; });
  go("all", false);
  fromAddress(false);
})();
