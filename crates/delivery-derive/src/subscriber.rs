//! `#[subscriber(…)]`: an async function becomes a subscription.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Expr, FnArg, GenericArgument, Ident, ItemFn, LitStr, Path, PathArguments, Token, Type};

/// What an option is called here and on `Subscription`.
const OPTIONS: &str = "name, on, when, priority, phase, order, concurrency, growing_to, timeout, retry, save_every, target, breaker, replay, alias, begin, personal";

/// One entry of `on`.
enum Wanted {
    Type(Path),
    /// A name or a pattern.
    Text(LitStr),
}

impl Parse for Wanted {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitStr) {
            Ok(Self::Text(input.parse()?))
        } else {
            Ok(Self::Type(input.parse()?))
        }
    }
}

enum On {
    Any,
    These(Vec<Wanted>),
}

impl Parse for On {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(syn::token::Bracket) {
            let list;
            syn::bracketed!(list in input);
            let entries = Punctuated::<Wanted, Token![,]>::parse_terminated(&list)?;
            if entries.is_empty() {
                return Err(list.error("it wants no event"));
            }
            return Ok(Self::These(entries.into_iter().collect()));
        }
        match input.parse()? {
            Wanted::Type(path) if path.is_ident("any") => Ok(Self::Any),
            one => Ok(Self::These(vec![one])),
        }
    }
}

/// What the attribute says.
#[derive(Default)]
pub(crate) struct Arguments {
    name: Option<LitStr>,
    on: Option<On>,
    personal: bool,
    /// Calls on the subscription.
    options: Vec<(Ident, Expr)>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "personal" => arguments.personal = true,
                "name" => {
                    input.parse::<Token![=]>()?;
                    arguments.name = Some(input.parse()?);
                }
                "on" => {
                    input.parse::<Token![=]>()?;
                    arguments.on = Some(input.parse()?);
                }
                "when" | "priority" | "phase" | "order" | "concurrency" | "growing_to"
                | "timeout" | "retry" | "save_every" | "target" | "breaker" | "replay"
                | "alias" | "begin" => {
                    input.parse::<Token![=]>()?;
                    arguments.options.push((key, input.parse()?));
                }
                _ => {
                    return Err(syn::Error::new(
                        key.span(),
                        format!("known here: {OPTIONS}"),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

/// The parameters of the function: `(event)`, `(event, cx)` or `(state, event, cx)`.
struct Parameters<'a> {
    state: Option<&'a Type>,
    /// The `E` of `&Received<E>`; none for `&Received`.
    content: Option<&'a Type>,
    cx: bool,
}

fn parameters(function: &ItemFn) -> syn::Result<Parameters<'_>> {
    let shape = || {
        syn::Error::new(
            function.sig.inputs.span(),
            "a subscriber takes `event: &Received<E>`, after it `cx: &mut Cx` if it wants that, and before both `state: &S` \
             if it has some",
        )
    };
    let mut types = Vec::new();
    for input in &function.sig.inputs {
        match input {
            FnArg::Typed(parameter) => match &*parameter.ty {
                Type::Reference(reference) => types.push(&*reference.elem),
                _ => return Err(shape()),
            },
            FnArg::Receiver(_) => return Err(shape()),
        }
    }
    let (state, event, cx) = match types[..] {
        [event] => (None, event, false),
        [event, _] => (None, event, true),
        [state, event, _] => (Some(state), event, true),
        _ => return Err(shape()),
    };
    let Type::Path(path) = event else {
        return Err(shape());
    };
    let last = path.path.segments.last().ok_or_else(shape)?;
    if last.ident != "Received" {
        return Err(shape());
    }
    let content = match &last.arguments {
        PathArguments::AngleBracketed(generic) => match generic.args.first() {
            Some(GenericArgument::Type(content)) => Some(content),
            _ => return Err(shape()),
        },
        _ => None,
    };
    Ok(Parameters { state, content, cx })
}

/// What the handler gets, and the filter where that does not say it.
fn wants(
    on: Option<On>,
    parameters: &Parameters<'_>,
    function: &ItemFn,
) -> syn::Result<(TokenStream, TokenStream)> {
    let any = || quote!(::quivive_delivery::subscriber::Any);
    let entries = match (on, parameters.content) {
        (None, Some(content)) => return Ok((quote!(#content), quote!())),
        (None, None) => {
            return Err(syn::Error::new(
                function.sig.ident.span(),
                "a subscriber says which events it wants: `on = OrderPlaced`, `on = [A, B]`, `on = \"order.*\"` or `on = any`",
            ));
        }
        (Some(On::Any), None) => return Ok((any(), quote!())),
        (Some(On::Any), Some(content)) => return Err(several(content)),
        (Some(On::These(entries)), _) => entries,
    };
    // Whether it is the type that the function takes, the compiler says where the function is called.
    if let ([Wanted::Type(path)], Some(_)) = (&entries[..], parameters.content) {
        return Ok((quote!(#path), quote!()));
    }
    let names = entries.iter().map(|entry| match entry {
        Wanted::Type(path) => quote!(<#path as ::quivive_delivery::Event>::META.kind),
        Wanted::Text(text) => quote!(#text),
    });
    let filter = quote!(.matching([#(#names),*]));
    match parameters.content {
        // One name: the start checks that it is that type's.
        Some(content) if entries.len() == 1 => Ok((quote!(#content), filter)),
        Some(content) => Err(several(content)),
        None => Ok((any(), filter)),
    }
}

fn several(content: &Type) -> syn::Error {
    syn::Error::new(
        content.span(),
        "several types come as `&Received`, and the function decodes them",
    )
}

pub(crate) fn expand(arguments: Arguments, function: &ItemFn) -> syn::Result<TokenStream> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        return Err(syn::Error::new(
            sig.fn_token.span(),
            "a subscriber is an async function",
        ));
    }
    if !sig.generics.params.is_empty() {
        return Err(syn::Error::new(
            sig.generics.span(),
            "a subscriber has no type parameters",
        ));
    }
    let parameters = parameters(function)?;
    let (content, filter) = wants(arguments.on, &parameters, function)?;
    let name = arguments.name.ok_or_else(|| {
        syn::Error::new(
            sig.ident.span(),
            "a subscriber has a name, which the database keeps: `name = \"…\"`",
        )
    })?;
    let (parameter, field, value, own) = match parameters.state {
        Some(state) => (
            quote!(state: #state),
            quote!((#state)),
            quote!((state)),
            quote!(&self.0,),
        ),
        None => (quote!(), quote!(), quote!(), quote!()),
    };
    let cx = parameters.cx.then(|| quote!(, cx));
    let (keys, values): (Vec<_>, Vec<_>) = arguments.options.into_iter().unzip();
    let personal = arguments.personal.then(|| quote!(.with_personal_fields()));

    let (vis, subscriber, body) = (&function.vis, &sig.ident, &function.block);
    let (docs, others): (Vec<_>, Vec<_>) = function
        .attrs
        .iter()
        .partition(|a| a.path().is_ident("doc"));
    let mut react = sig.clone();
    react.ident = format_ident!("react", span = sig.ident.span());
    Ok(quote! {
        #(#docs)*
        #[must_use]
        #vis fn #subscriber(#parameter) -> ::quivive_delivery::Subscription {
            struct Reacts #field;

            impl ::quivive_delivery::Handler for Reacts {
                #[allow(unused_variables)]
                fn handle<'a>(
                    &'a self,
                    event: &'a ::quivive_delivery::Received,
                    cx: &'a mut ::quivive_delivery::Cx,
                ) -> ::quivive_delivery::BoxFuture<'a, ::quivive_delivery::Outcome> {
                    Box::pin(async move {
                        match <#content as ::quivive_delivery::subscriber::Content>::of(event) {
                            Ok(event) => react(#own &event #cx).await.into(),
                            Err(error) => error.into(),
                        }
                    })
                }
            }

            #(#others)*
            #[allow(clippy::unused_async, clippy::trivially_copy_pass_by_ref)]
            #react #body

            let handler = ::std::sync::Arc::new(Reacts #value);
            ::quivive_delivery::Subscription::<#content>::with(#name, handler)
                #filter #personal #(.#keys(#values))*
                .into()
        }
    })
}
