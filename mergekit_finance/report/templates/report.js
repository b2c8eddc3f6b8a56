(() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  // ---- figures: values on hover, on touch, and on focus; arrow keys move between them

  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const reveal = (mark) => {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const box = mark.getBoundingClientRect();
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(6, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 6))}px`;
    tip.style.top = `${above > 6 ? above : box.bottom + 8}px`;
  };
  for (const mark of document.querySelectorAll(".value")) {
    const title = mark.querySelector("title"); // the browser's own tooltip would show beside ours
    mark.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  for (const chart of document.querySelectorAll(".panel")) { // a listener on the picture would make it a tab stop
    const marks = [...chart.querySelectorAll(".value")];
    const near = (event) => event.target.closest(".value");
    chart.addEventListener("pointerover", (event) => (near(event) ? reveal(near(event)) : hide()));
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("focusin", (event) => near(event) && reveal(near(event)));
    chart.addEventListener("focusout", hide);
    chart.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      const place = marks.indexOf(near(event));
      const last = marks.length - 1;
      const to = { Home: 0, End: last }[event.key] ?? (steps[event.key] ? place + steps[event.key] : -1);
      if (place < 0 || to < 0 || to > last) return;
      event.preventDefault();
      marks[place].setAttribute("tabindex", "-1");
      marks[to].setAttribute("tabindex", "0");
      marks[to].focus();
    });
  }
  addEventListener("scroll", () => { // moving the focus scrolls, too
    const mark = document.activeElement;
    const { top, bottom } = mark.getBoundingClientRect();
    if (mark.matches(".value") && top > 0 && bottom < innerHeight) reveal(mark);
    else hide();
  }, { passive: true });

  // ---- printing: open every table, then restore the screen

  const folded = [...document.querySelectorAll("details.tabled, details.folded")];
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = folded.filter((details) => !details.open);
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));

  // ---- recipes: copy

  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const area = button.parentElement.querySelector("code");
      button.textContent = (await copied(area.textContent, area)) ? "Copied" : "Selected: press Ctrl+C";
      say(button.textContent);
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
  }

  // ---- items

  const models = data.models;
  const singles = models.map((model, i) => [model, i]).filter((pair) => !pair[0].merge).map((pair) => pair[1]);
  const merges = models.map((model, i) => [model, i]).filter((pair) => pair[0].merge).map((pair) => pair[1]);
  const sheet = document.getElementById("sheet");
  const chooser = document.getElementById("task");
  const which = document.getElementById("which");
  const find = document.getElementById("find");
  const some = (task, who, item) => who.some((model) => task.right[model][item] === "1");
  const kinds = {
    all: () => true,
    union: (task, item) => some(task, singles, item),
    emerged: (task, item) => !some(task, singles, item) && some(task, merges, item),
    lost: (task, item) => some(task, singles, item) && merges.some((model) => task.right[model][item] === "0"),
    nobody: (task, item) => !some(task, singles, item) && !some(task, merges, item),
  };
  const searched = (task, item) => {
    const text = task.texts[item];
    return [task.items[item], task.hashes[item] || "", ...(text ? [text.prompt, text.target, ...text.answers] : [])]
      .join("\n").toLowerCase();
  };
  const answers = (task, item) => {
    const box = make("div");
    const text = task.texts[item];
    box.append(make("p", `${task.items[item]}${task.hashes[item] ? `  doc_hash ${task.hashes[item]}…` : ""}`, "note"));
    if (text) {
      box.append(make("h3", "Prompt"), make("pre", text.prompt), make("h3", "Target"), make("pre", text.target));
      box.append(make("h3", "Answers"));
    } else if (task.may) {
      box.append(make("p", "The text of this item is not in this page: the page is limited in size, or the study did not store it.", "note"));
    }
    models.forEach((model, i) => {
      const line = make("div", undefined, "answer");
      const mark = task.right[i][item] === "1" ? "✓ " : "✗ ";
      line.append(make("b", mark + model.label), make("span", text ? text.answers[text.by[i]] : ""));
      box.append(line);
    });
    return box;
  };
  const toggle = (button, row, task, item) => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { row.nextElementSibling.remove(); return; }
    const below = make("tr");
    const cell = make("td", undefined, "detail");
    cell.colSpan = models.length + 1;
    cell.append(answers(task, item));
    below.append(cell);
    row.after(below);
  };
  const line = (task, item) => {
    const row = make("tr", undefined, task.chooses[item] === "1" ? "unreported" : "");
    const head = make("th");
    head.scope = "row";
    const button = make("button", task.items[item], "pick");
    button.type = "button";
    button.title = task.items[item];
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => toggle(button, row, task, item));
    head.append(button);
    row.append(head);
    models.forEach((model, i) => {
      const right = task.right[i][item] === "1";
      const cell = make("td", right ? "✓" : "·", `${right ? "right" : ""} ${i === merges[0] ? "first" : ""}`.trim());
      cell.setAttribute("aria-label", `${model.short}: ${right ? "right" : "wrong"}`);
      cell.dataset.value = right ? "1" : "0"; // in CSV
      row.append(cell);
    });
    return row;
  };
  const show = () => {
    const task = data.tasks[Number(chooser.value)];
    const words = find.value.toLowerCase();
    const kept = task.items.map((_, item) => item).filter((item) =>
      kinds[which.value](task, item) && (!words || searched(task, item).includes(words)));
    const head = make("tr");
    head.append(make("th", "item"), ...models.map((model, i) => {
      const cell = make("th", model.short, i === merges[0] ? "first" : "");
      cell.scope = "col";
      cell.title = model.label;
      return cell;
    }));
    head.firstChild.scope = "col";
    sheet.tHead.replaceChildren(head);
    sheet.tBodies[0].replaceChildren(...kept.map((item) => line(task, item)));
    document.getElementById("count").textContent = `${kept.length} of ${task.items.length} items`;
    document.getElementById("hidden-text").hidden = task.may;
  };
  data.tasks.forEach((task, i) => {
    const option = make("option", `${task.label} (${task.about})`);
    option.value = String(i);
    chooser.append(option);
  });
  for (const control of [chooser, which]) control.addEventListener("change", show);
  find.addEventListener("input", show);
  document.getElementById("browser").hidden = false;
  show();
})();
