// Elements: everything that the page shows goes through here as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

const byId = (id) => document.getElementById(id);

// A select of [value, text] pairs.
function choice(label, options, chosen, onchange) {
  const select = element("select", { onchange: () => onchange(select.value) });
  select.append(...options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
  return element("label", {}, label, select);
}
