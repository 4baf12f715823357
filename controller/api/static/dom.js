// Views say what the page should look like; `render` changes what differs, and nothing else: an
// element that stays keeps its focus, selection and scroll position. Text is always a text node.

const SVG = "http://www.w3.org/2000/svg";
const vnodes = new WeakMap();

// h("a", {href: "#/vms", class: "name"}, "text", [children], null). Props: `key` (identity among
// siblings), `on*` (handlers), `style` (an object, set through CSSOM), `ref` (called with the
// element after it is filled), `foreign` (others fill it), properties value/checked/selected/open, else attributes.
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: flat(children, []) };
}

function flat(children, into) {
  for (const child of children) {
    if (Array.isArray(child)) flat(child, into);
    else if (child !== null && child !== undefined && child !== false && child !== true) {
      into.push(typeof child === "object" ? child : String(child));
    }
  }
  return into;
}

export function render(parent, ...children) {
  reconcile(parent, flat(children, []));
}

function reconcile(parent, wanted) {
  const keyed = new Map();
  const others = [];
  for (const node of parent.childNodes) {
    const key = vnodes.get(node)?.props.key;
    if (key === undefined) others.push(node);
    else keyed.set(key, node);
  }
  let next = 0;
  let at = parent.firstChild;
  const kept = new Set();
  for (const child of wanted) {
    let node = null;
    if (typeof child === "object" && child.props.key !== undefined) {
      const found = keyed.get(child.props.key);
      if (found && fits(found, child)) node = found;
    } else {
      if (next < others.length && fits(others[next], child)) node = others[next];
      next += 1;
    }
    node = node && !kept.has(node) ? change(node, child) : create(parent, child);
    kept.add(node);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  for (const node of [...parent.childNodes]) if (!kept.has(node)) node.remove();
}

function fits(node, child) {
  if (typeof child === "string") return node.nodeType === Node.TEXT_NODE;
  return node.nodeType === Node.ELEMENT_NODE && node.localName === child.tag;
}

function create(parent, child) {
  if (typeof child === "string") return document.createTextNode(child);
  const inSvg = child.tag === "svg" || parent.namespaceURI === SVG;
  const node = inSvg ? document.createElementNS(SVG, child.tag) : document.createElement(child.tag);
  vnodes.set(node, { tag: child.tag, props: {}, children: [] });
  return change(node, child);
}

function change(node, child) {
  if (typeof child === "string") {
    if (node.data !== child) node.data = child;
    return node;
  }
  const before = vnodes.get(node)?.props ?? {};
  vnodes.set(node, child);
  for (const name in before) if (!(name in child.props)) set(node, name, null, before[name]);
  if (!child.props.foreign) reconcile(node, child.children);
  // After the children: a select takes its value from the options it has.
  for (const name in child.props) {
    if (before[name] !== child.props[name]) set(node, name, child.props[name], before[name]);
  }
  child.props.ref?.(node);
  return node;
}

const PROPERTIES = new Set(["value", "checked", "selected", "open", "disabled", "hidden"]);

function set(node, name, value, before) {
  if (name === "key" || name === "ref" || name === "foreign") return;
  if (name.startsWith("on")) node[name] = value;
  else if (name === "style") Object.assign(node.style, value);
  else if (PROPERTIES.has(name) && name in node) {
    // What somebody types is theirs until the view wants another value than it did.
    if (node[name] !== value) node[name] = value ?? (name === "value" ? "" : false);
  } else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}
