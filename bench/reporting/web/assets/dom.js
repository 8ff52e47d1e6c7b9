// Elements. Text goes in as text nodes only: there is no way from here to markup.

function make(namespace, tag, attributes, children) {
  const element = namespace ? document.createElementNS(namespace, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

const el = (tag, attributes, ...children) => make(null, tag, attributes, children);
const svg = (tag, attributes, ...children) => make("http://www.w3.org/2000/svg", tag, attributes, children);

function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

const tooltip = document.getElementById("tooltip");

// Shows `lines` beside the pointer, or beside the element where a key has led to it.
function withTooltip(element, lines) {
  const show = (event) => {
    replace(
      tooltip,
      lines().map((line) => el("div", {}, line)),
    );
    tooltip.hidden = false;
    const box = element.getBoundingClientRect();
    const x = event.clientX ?? box.right,
      y = event.clientY ?? box.bottom;
    tooltip.style.left = `${Math.max(4, Math.min(x + 12, window.innerWidth - tooltip.offsetWidth - 8))}px`;
    tooltip.style.top = `${Math.max(4, Math.min(y + 12, window.innerHeight - tooltip.offsetHeight - 8))}px`;
  };
  const hide = () => {
    tooltip.hidden = true;
  };
  for (const name of ["mouseenter", "mousemove", "focus"]) element.addEventListener(name, show);
  for (const name of ["mouseleave", "blur", "click"]) element.addEventListener(name, hide);
  return element;
}

// A labelled choice. options: [value, text] each.
function choice(id, label, options, chosen, change) {
  const select = el("select", { id, onchange: () => change(select.value) });
  for (const [value, text] of options)
    select.append(el("option", { value, selected: String(value) === String(chosen) }, text));
  return el("label", { class: "choice", for: id }, el("span", {}, label), select);
}
