//! `#[derive(Event)]`: a struct with named fields becomes an event type. `#[derive(Reason)]`: an enum becomes a set of codes.
//! `#[subscriber]`: an async function becomes a subscription.

mod subscriber;

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Fields, LitInt, LitStr, Type, parse_macro_input};

/// `#[event(type = "…", version = 1, name = "…", audit = "…", also = ["…"])]` on the struct, and beginning with version 2
/// `past = [V1, …]`, a `quivive_delivery::event::Past` for each version before;
/// `#[event(personal)]` on a field that must be sealed in the log.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// A fieldless enum becomes `Codes`: each variant its name in `snake_case`. It may have none: a workflow without refusals.
#[proc_macro_derive(Reason)]
pub fn derive_reason(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    reason(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// `#[subscriber(name = "thanks", on = OrderPlaced)]` on
/// `async fn thanks(event: &Received<OrderPlaced>, cx: &mut Cx) -> Outcome`.
///
/// `on` is a type, a name, a pattern such as `"order.*"`, a list of these, or `any`; what is not one type comes as
/// `&Received`. `personal` has personal fields opened that the type does not ask for. The other options are called as on
/// `Subscription`: `retry = Retry::NONE`, `timeout = Duration::from_secs(5)`.
///
/// The function becomes one that makes the `Subscription`: `thanks()`, or where a subscription is taken just `thanks`. One
/// with a parameter `state: &S` before the event is given its state there: `thanks(state)`.
#[proc_macro_attribute]
pub fn subscriber(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as subscriber::Arguments);
    let function = parse_macro_input!(function as syn::ItemFn);
    subscriber::expand(arguments, &function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn reason(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(syn::Error::new(
            input.span(),
            "reasons are the variants of an enum",
        ));
    };
    if let Some(variant) = data
        .variants
        .iter()
        .find(|v| !matches!(v.fields, Fields::Unit))
    {
        return Err(syn::Error::new(variant.span(), "a reason carries nothing"));
    }
    let name = &input.ident;
    let variants: Vec<_> = data.variants.iter().map(|v| &v.ident).collect();
    let codes: Vec<_> = variants
        .iter()
        .map(|v| snake_case(&v.to_string()))
        .collect();
    Ok(quote! {
        impl ::quivive_delivery::Codes for #name {
            const CODES: &'static [&'static str] = &[#(#codes),*];

            fn code(&self) -> &'static str {
                match *self { #(Self::#variants => #codes),* }
            }
        }
    })
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

struct Attributes {
    kind: LitStr,
    version: LitInt,
    name: LitStr,
    audit: LitStr,
    aliases: Vec<LitStr>,
    past: Vec<syn::Path>,
}

/// The entries of `name = [a, b]`.
fn list<T: syn::parse::Parse>(meta: &syn::meta::ParseNestedMeta<'_>) -> syn::Result<Vec<T>> {
    let entries;
    let value = meta.value()?;
    syn::bracketed!(entries in value);
    let entries = entries.parse_terminated(T::parse, syn::Token![,])?;
    Ok(entries.into_iter().collect())
}

fn attributes(input: &DeriveInput) -> syn::Result<Attributes> {
    let (mut kind, mut version, mut name, mut audit) = (None, None, None, None);
    let (mut aliases, mut past) = (Vec::new(), Vec::new());
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("type") {
                kind = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("version") {
                version = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("audit") {
                audit = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("also") {
                aliases = list(&meta)?;
            } else if meta.path.is_ident("past") {
                past = list(&meta)?;
            } else {
                return Err(meta.error("known here: type, version, name, audit, also, past"));
            }
            Ok(())
        })?;
    }
    let missing = |what: &str| {
        syn::Error::new(
            input.span(),
            format!(
                "an event states its {what}: #[event(type = \"…\", version = 1, name = \"…\", audit = \"…\")]"
            ),
        )
    };
    let attributes = Attributes {
        kind: kind.ok_or_else(|| missing("type"))?,
        version: version.ok_or_else(|| missing("version"))?,
        name: name.ok_or_else(|| missing("name"))?,
        audit: audit.ok_or_else(|| missing("audit action"))?,
        aliases,
        past,
    };
    if attributes.version.base10_parse::<usize>()? != attributes.past.len() + 1 {
        return Err(syn::Error::new(
            attributes.version.span(),
            "version N has N - 1 before it: `past = [V1, …]` names a `quivive_delivery::event::Past` for each",
        ));
    }
    Ok(attributes)
}

impl Attributes {
    /// What is known of the type without an instance.
    fn constants(&self) -> proc_macro2::TokenStream {
        let Self {
            kind,
            version,
            name,
            audit,
            aliases,
            past,
        } = self;
        quote! {
            const META: ::quivive_delivery::EventMeta = ::quivive_delivery::EventMeta {
                kind: #kind,
                version: #version,
                name: #name,
                audit: #audit,
                aliases: &[#(#aliases),*],
            };

            const PAST: &'static [::quivive_delivery::event::Past] = &[#(#past),*];
        }
    }
}

struct Field<'a> {
    ident: &'a syn::Ident,
    ty: &'a Type,
    personal: bool,
}

fn fields(input: &DeriveInput) -> syn::Result<Vec<Field<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.span(), "an event is a struct"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(syn::Error::new(input.span(), "an event has named fields"));
    };
    let mut out = Vec::new();
    for field in &named.named {
        let mut personal = false;
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("personal") {
                    personal = true;
                    Ok(())
                } else {
                    Err(meta.error("a field may be: personal"))
                }
            })?;
        }
        let ident = field.ident.as_ref().expect("named fields have names");
        out.push(Field {
            ident,
            ty: &field.ty,
            personal,
        });
    }
    Ok(out)
}

fn is_option(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "Option"))
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let constants = attributes(input)?.constants();
    let fields = fields(input)?;
    let event = &input.ident;
    let (personal, open): (Vec<&Field<'_>>, Vec<&Field<'_>>) =
        fields.iter().partition(|field| field.personal);

    let specs = fields.iter().map(
        |Field {
             ident,
             ty,
             personal,
         }| {
            let (name, optional) = (ident.to_string(), is_option(ty));
            quote! {
                ::quivive_delivery::event::FieldSpec {
                    name: #name,
                    personal: #personal,
                    optional: #optional,
                    schema: <#ty as JsonSchema>::json_schema(generator),
                }
            }
        },
    );
    let half = |suffix: &str, half: &[&Field<'_>]| {
        let (owned, borrowed) = (
            format_ident!("{suffix}Owned"),
            format_ident!("{suffix}Borrowed"),
        );
        let idents: Vec<_> = half.iter().map(|f| f.ident).collect();
        let types: Vec<_> = half.iter().map(|f| f.ty).collect();
        // A lifetime must be used even where a half has no field.
        quote! {
            #[derive(serde::Deserialize)]
            #[serde(crate = "serde")]
            struct #owned { #(#idents: #types),* }
            #[derive(serde::Serialize)]
            #[serde(crate = "serde")]
            struct #borrowed<'a> {
                #(#idents: &'a #types,)*
                #[serde(skip)]
                lifetime: std::marker::PhantomData<&'a ()>,
            }
        }
    };
    let (open_half, personal_half) = (half("Open", &open), half("Personal", &personal));
    let open_idents: Vec<_> = open.iter().map(|f| f.ident).collect();
    let personal_idents: Vec<_> = personal.iter().map(|f| f.ident).collect();
    let (encode_personal, decode_personal) = if personal.is_empty() {
        (quote!(None), quote!())
    } else {
        (
            quote!(Some(serde_json::to_vec(&PersonalBorrowed {
                #(#personal_idents: &self.#personal_idents,)* lifetime: std::marker::PhantomData
            })?)),
            quote! {
                let sealed = body.personal.as_deref().ok_or(::quivive_delivery::DecodeError::Erased)?;
                let personal: PersonalOwned = ::quivive_delivery::event::half(sealed)?;
            },
        )
    };

    Ok(quote! {
        const _: () = {
            use ::quivive_delivery::generated::{schemars::{JsonSchema, SchemaGenerator}, serde, serde_json};
            #open_half
            #personal_half

            impl ::quivive_delivery::Event for #event {
                #constants

                fn fields(generator: &mut SchemaGenerator) -> Vec<::quivive_delivery::event::FieldSpec> {
                    vec![#(#specs),*]
                }

                fn encode(&self) -> Result<::quivive_delivery::Body, serde_json::Error> {
                    Ok(::quivive_delivery::Body {
                        open: serde_json::to_vec(&OpenBorrowed {
                            #(#open_idents: &self.#open_idents,)* lifetime: std::marker::PhantomData
                        })?,
                        personal: #encode_personal,
                    })
                }

                fn decode(body: &::quivive_delivery::Body) -> Result<Self, ::quivive_delivery::DecodeError> {
                    let open: OpenOwned = ::quivive_delivery::event::half(&body.open)?;
                    #decode_personal
                    Ok(Self { #(#open_idents: open.#open_idents,)* #(#personal_idents: personal.#personal_idents,)* })
                }
            }
        };
    })
}
